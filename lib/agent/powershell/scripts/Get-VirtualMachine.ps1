<#
.SYNOPSIS
    The asked VMs that this host knows: state, version, VSS status, disks, checkpoints.
.DESCRIPTION
    Input: { settings, vmIds }. Output: { virtualMachines: [...] }; unknown VMs are missing.
    Source: hyperv.md 1.1 (classes, associations), 1.7 (Msvm_VssComponent.OperationalStatus).
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
    $images = Get-GcbService -Namespace $namespace -ClassName Msvm_ImageManagementService
    $found = New-Object -TypeName System.Collections.ArrayList
    foreach ($vmId in @($Request.vmIds)) {
        $system = Get-GcbVirtualSystem -Namespace $namespace -VmId $vmId
        if ($null -eq $system) { continue }
        $setting = Get-GcbRealizedSetting -VirtualSystem $system
        $component = Get-CimInstance -Namespace $namespace -ClassName Msvm_VssComponent -Filter (Format-GcbFilter -Property 'SystemName' -Value $vmId) | Select-Object -First 1
        $status = -1
        if ($null -ne $component -and @($component.OperationalStatus).Count -gt 0) { $status = [int]@($component.OperationalStatus)[0] }
        $disks = New-Object -TypeName System.Collections.ArrayList
        foreach ($disk in @(Get-GcbDiskAllocation -Setting $setting)) {
            $hostPath = [string]@($disk.HostResource)[0]
            [void]$disks.Add([ordered]@{
                    instanceId = [string]$disk.InstanceID
                    diskId     = Get-GcbDiskId -ImageService $images -Path $hostPath -VhdSetOrder $Request.settings.vhdSetOrder
                    path       = Get-GcbCreatedPath -ImageService $images -Path $hostPath
                    activePath = $hostPath
                    shared     = (Test-GcbVhdSetPath -Path $hostPath) -or [bool](Get-GcbProperty -InputObject $disk -Name 'PersistentReservationsSupported')
                })
        }
        $checkpoints = @(Get-GcbCheckpointSetting -VirtualSystem $system | ForEach-Object -Process {
                [ordered]@{ id = [string]$_.InstanceID; type = [string]$_.VirtualSystemType; name = [string]$_.ElementName }
            })
        [void]$found.Add([ordered]@{
                vmId                 = ConvertTo-GcbGuid -Text ([string]$system.Name)
                name                 = [string]$system.ElementName
                enabledState         = [int]$system.EnabledState
                configurationVersion = [string]$setting.Version
                vssStatus            = $status
                disks                = $disks.ToArray()
                checkpoints          = $checkpoints
            })
    }
    [ordered]@{ virtualMachines = $found.ToArray() }
}
