<#
.SYNOPSIS
    Imports a restored VM configuration as a planned VM, which does not run and touches nothing.
.DESCRIPTION
    Input: { settings, configurationPath, snapshotDirectory, newId }.
    Output: { vmId, name, disks: [{ instanceId, hostResource }] }.
    Source: hyperv.md 1.8, restore (ImportSystemDefinition; bareos order).
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
    $outcome = Invoke-GcbMethod -Target $service -MethodName ImportSystemDefinition -Subject $Request.configurationPath -TimeoutMs ([long]$Request.settings.callTimeoutMs) -Arguments @{
        SystemDefinitionFile        = [string]$Request.configurationPath
        SnapshotFolder              = [string]$Request.snapshotDirectory
        GenerateNewSystemIdentifier = [bool]$Request.newId
    }
    $planned = Get-GcbResult -Outcome $outcome -Parameter 'ImportedSystem' -ClassName Msvm_PlannedComputerSystem
    if ($null -eq $planned) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.configurationPath -Message "The import of $($Request.configurationPath) gave no planned VM." -Remedy 'Read the Hyper-V-VMMS event log of the host.'
    }
    [ordered]@{
        vmId  = ConvertTo-GcbGuid -Text ([string]$planned.Name)
        name  = [string]$planned.ElementName
        disks = @(Get-GcbDiskAllocation -Setting (Get-GcbRealizedSetting -VirtualSystem $planned) | ForEach-Object -Process {
                [ordered]@{ instanceId = [string]$_.InstanceID; hostResource = [string]@($_.HostResource)[0] }
            })
    }
}
