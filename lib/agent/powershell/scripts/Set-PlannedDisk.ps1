<#
.SYNOPSIS
    Points the disks of a planned VM at the restored files.
.DESCRIPTION
    Input: { settings, vmId, disks: [{ instanceId, path }] }. Output: { changed }.
    Source: hyperv.md 1.8, restore (edit HostResource with ModifyResourceSettings); several members may name one .vhds.
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
    $service = Get-GcbService -Namespace $namespace -ClassName Msvm_VirtualSystemManagementService
    $planned = Get-CimInstance -Namespace $namespace -ClassName Msvm_PlannedComputerSystem -Filter (Format-GcbFilter -Property 'Name' -Value $Request.vmId) | Select-Object -First 1

    if ($null -eq $planned) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.vmId -Message "There is no planned VM $($Request.vmId)." -Remedy 'Import the configuration again.'
    }

    $texts = New-Object -TypeName System.Collections.ArrayList
    foreach ($wanted in @($Request.disks)) {
        $disk = Get-GcbDiskAllocation -Setting (Get-GcbRealizedSetting -VirtualSystem $planned) | Where-Object -FilterScript { $_.InstanceID -eq $wanted.instanceId } | Select-Object -First 1
        if ($null -eq $disk) {
            Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $wanted.instanceId -Message "Planned VM $($Request.vmId) has no disk $($wanted.instanceId)." -Remedy 'Compare with the disks that the import listed.'
        }
        $disk.CimInstanceProperties['HostResource'].Value = [string[]]@([string]$wanted.path)
        [void]$texts.Add((ConvertTo-GcbEmbedded -Instance $disk))
    }
    if ($texts.Count -gt 0) {
        [void](Invoke-GcbMethod -Target $service -MethodName ModifyResourceSettings -Arguments @{ ResourceSettings = [string[]]$texts.ToArray() } -Subject $Request.vmId -TimeoutMs ([long]$Request.settings.callTimeoutMs))
    }
    [ordered]@{ changed = $texts.Count }
}
