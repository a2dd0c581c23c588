<#
.SYNOPSIS
    What the cluster inside the guests says about the shared disks, per member.
.DESCRIPTION
    Input: { settings, vmIds }. Output: { members: [...] }; a member that this host does not know is missing.
    Source: hyperv.md 1.7 (QueryGuestClusterInformation), 1.1 (Msvm_ServiceOfVssComponent).
    INFERRED: the form of the out parameter (object or embedded text) and that it is filled when a job was started.
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.namespace
    $members = New-Object -TypeName System.Collections.ArrayList
    foreach ($vmId in @($Request.vmIds)) {
        $component = Get-CimInstance -Namespace $namespace -ClassName Msvm_VssComponent -Filter (Format-GcbFilter -Property 'SystemName' -Value $vmId) | Select-Object -First 1
        if ($null -eq $component) { continue }
        $service = Get-CimAssociatedInstance -InputObject $component -Association Msvm_ServiceOfVssComponent -ResultClassName Msvm_VssService | Select-Object -First 1
        if ($null -eq $service) { continue }
        $outcome = Invoke-GcbMethod -Target $service -MethodName QueryGuestClusterInformation -Arguments @{} -Subject $vmId -TimeoutMs ([long]$Request.settings.guestQueryTimeoutMs)
        $answer = Get-GcbProperty -InputObject $outcome.result -Name 'GuestClusterInformation'
        if ($null -eq $answer) {
            Stop-GcbVerb -Code 'HV_UNEXPECTED' -Subject $vmId -Message "VM $vmId gave no guest cluster information." -Remedy 'Check that the VM runs and that its cluster service answers; then try again.'
        }
        if ($answer -is [string]) { $answer = [pscustomobject](ConvertFrom-GcbEmbedded -Text $answer) }
        [void]$members.Add([ordered]@{
                vmId                 = $vmId
                clusterId            = [string](Get-GcbProperty -InputObject $answer -Name 'ClusterId')
                clusterSize          = [int](Get-GcbProperty -InputObject $answer -Name 'ClusterSize')
                paths                = @(Get-GcbProperty -InputObject $answer -Name 'SharedVirtualHardDiskPaths' | Where-Object -FilterScript { $null -ne $_ })
                isClustered          = @(Get-GcbProperty -InputObject $answer -Name 'IsClustered' | Where-Object -FilterScript { $null -ne $_ } | ForEach-Object -Process { [string]$_ -eq 'True' })
                isOnline             = @(Get-GcbProperty -InputObject $answer -Name 'IsOnline' | Where-Object -FilterScript { $null -ne $_ } | ForEach-Object -Process { [string]$_ -eq 'True' })
                isOwned              = @(Get-GcbProperty -InputObject $answer -Name 'IsOwned' | Where-Object -FilterScript { $null -ne $_ } | ForEach-Object -Process { [string]$_ -eq 'True' })
                isActiveActive       = @(Get-GcbProperty -InputObject $answer -Name 'IsActiveActive' | Where-Object -FilterScript { $null -ne $_ } | ForEach-Object -Process { [string]$_ -eq 'True' })
                lastResourceMoveTime = [string](Get-GcbProperty -InputObject $answer -Name 'LastResourceMoveTime')
            })
    }
    [ordered]@{ members = $members.ToArray() }
}
